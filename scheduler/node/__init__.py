"""The supplier's side: an agent that talks to the server, and a supervisor beside each job that needs neither."""
