"""The data sets by name; each module has `plan`, which says what would be built, and from what."""
