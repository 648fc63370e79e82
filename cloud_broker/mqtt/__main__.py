"""`python -m cloud_broker.mqtt`."""

import sys

from cloud_broker.mqtt.server import main

sys.exit(main())
