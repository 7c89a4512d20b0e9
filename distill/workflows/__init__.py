"""What each verb does, as Python functions; only here teachers, students and export meet."""
