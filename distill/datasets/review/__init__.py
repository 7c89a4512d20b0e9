"""Review of label sets by a person: what to look at first, a page to judge on, verdicts, and their application."""
