"""What a team runs it with."""
