"""A recipe: from YAML to frozen dataclasses, and the choices that flags and recipes share."""
