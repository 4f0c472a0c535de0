"""A release, built from a tag into `dist/`, checked before and after: `./run release`."""
