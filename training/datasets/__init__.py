"""Data sets for the mapping models: made, checked, described and kept by their content.

`build.build` makes one, `store` keeps it, `validate` says what is wrong with it. Plain Python; the
commands `build_dataset`, `validate_dataset` and `show_datasets` call it.
"""
