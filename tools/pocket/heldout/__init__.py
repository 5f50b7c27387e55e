"""The pocket model measured on clips no training has seen, made and finished by the application itself."""
