"""The documentation as a site, from the same Markdown that is read in the repository.

`pages` arranges the Markdown for Zensical, `checks` looks at what became of it. `./run site` builds it.
"""
