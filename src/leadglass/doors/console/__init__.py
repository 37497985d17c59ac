"""The REST API that the console works with: sign-in, sessions, people, policy, reviews."""
