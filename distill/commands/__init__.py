"""Verbs: one module, one function each. Only this floor introduces the wings to each other."""
