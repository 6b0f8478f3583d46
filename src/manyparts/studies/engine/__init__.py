"""What a study is, and how its stages are run, resumed and tabulated."""
