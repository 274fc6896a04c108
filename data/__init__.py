"""Recipes for corpora (never their bytes); installed as the package `lipread.data`."""
