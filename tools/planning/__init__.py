"""What a recipe will take - steps, files, memory, hours - counted before anything runs: tools/plan.py."""
