"""The head: mesh, skin, who a subject is, and what each action unit moves."""
