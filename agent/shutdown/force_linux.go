package shutdown

import "time"

// ForceLimit is how long Config.Force may take until it has failed.
const ForceLimit = 60 * time.Second
