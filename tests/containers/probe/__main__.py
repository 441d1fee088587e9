"""The probe as a command: what it looks for is its argument, and what it found is its output."""

import json
import sys

from probe import look

print(json.dumps(look(json.loads(sys.argv[1]))))
