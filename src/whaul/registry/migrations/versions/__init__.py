"""One module per revision, `r<number>_<what>.py`. A revision that was released is never edited.

Each says whether it is `additive`: a release that does not know it can go on reading and writing the database. It then
only adds: tables, indexes that are not unique, and columns that may be NULL or have a default in the database.
"""
