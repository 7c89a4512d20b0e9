"""Python API of the verbs, one module each. Only here are teachers, students and export combined."""
