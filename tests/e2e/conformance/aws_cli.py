"""Run in the AWS CLI's environment: runs that program, as it is installed, once for each line on standard input."""

import json
import os
import runpy
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

program = sys.argv[1]
for line in sys.stdin:
    told = json.loads(line)
    os.environ |= told["environment"]
    sys.argv = [program, *told["arguments"]]
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        try:
            runpy.run_path(program, run_name="__main__")
        except SystemExit as ended:
            code = ended.code
    sys.stdout.write(f"{json.dumps([code, out.getvalue(), err.getvalue()])}\n")
    sys.stdout.flush()
