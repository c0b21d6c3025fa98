"""`python -m deploy.local.proxy`."""

from deploy.local.proxy.main import main

main()
