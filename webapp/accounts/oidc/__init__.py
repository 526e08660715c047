"""Sign-in with an organisation's own identity provider, such as Entra ID, by OpenID Connect (OIDC in settings.py).

People are known by what the provider calls them (`sub`), never by an e-mail address: those can be changed there.
"""
