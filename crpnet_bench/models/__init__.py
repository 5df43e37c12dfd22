"""Risk models: what gives a patient a risk, from tiles, scores or clinical variables."""
