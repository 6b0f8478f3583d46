"""What people do with a dataset: check, repair, judge, convert, view."""
