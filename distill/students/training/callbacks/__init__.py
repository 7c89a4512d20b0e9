"""Lightning callbacks that exact resume and time budgets need."""
