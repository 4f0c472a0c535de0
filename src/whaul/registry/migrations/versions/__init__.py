"""One module per revision, `r<number>_<what>.py`. A revision that was released is never edited."""
