"""A whole recipe: which stages run, their columns, their weights."""
