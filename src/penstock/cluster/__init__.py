"""The administrator's verbs: up, down, status, doctor, backup, restore, env. One module each."""
