"""ONE FILE = ONE POLICY: each module defines POLICY, named as its file; the folder is scanned."""
