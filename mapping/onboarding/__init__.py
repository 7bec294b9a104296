"""A new detector, from its vendor's list of labels or a sample of its raw output.

`lists` reads a list, `samples` a sample, `drafting` proposes what each label means and writes
files; `pages` are the admin's, whose steps hand a `draft` on that is signed and stored nowhere.
"""
