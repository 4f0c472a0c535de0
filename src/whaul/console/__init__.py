"""The console: pages for operators, in a process of its own (`whaul console`), over the same database as the servers.

A page asks and changes through the functions that the commands use; there is no query and no action of its own here.

To add a page:

1. Write `pages/NAME.py` with functions that take a `Visit` and return an answer, and a tuple `PAGES` of `Page`: path,
   action that the caller's policy must allow, and for the navigation a title. The action is a constant of
   `whaul.operations.actions`, and a row of its `CONSOLE`. A page that changes something has `posts=True`.
2. Check each thing that is shown or changed: `visit.require(action, arn)`, or `visit.may(action, arn)`. That a page
   may be opened says only that its action is allowed on something.
3. Write `templates/NAME.html`, which extends `base.html` and uses `macros.html`. Everything is escaped; there is no
   `|safe`, no inline script and no inline style, which the browser refuses. Show the command that does the same:
   `{{ m.command("whaul …") }}`, several as several texts.
4. Add the module to a group in `pages/__init__.py`; the navigation shows groups apart.
5. Test it in `tests/e2e/test_console_NAME.py`.
"""
