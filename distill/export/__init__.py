"""Export: a student to files for engines, the proof that they give the same answers, and one door to run them."""
