"""Every row of the table of errors is shown by a test."""

import test_accounts
import test_calling
import test_errors_of_meta
import test_errors_of_requests
import test_errors_of_stores
import test_signup

from harness.error_rows import ROWS, SHOWN


def test_every_row_of_the_table_of_errors_is_shown() -> None:
    modules = (
        *(test_errors_of_meta, test_errors_of_requests, test_errors_of_stores),
        *(test_accounts, test_calling, test_signup),
    )
    assert all(module.shows for module in modules)
    assert ROWS.keys() == SHOWN
