package helper

import (
	"os/user"
	"strconv"
)

// nameOf is the name of a user, or its number where it has none.
func nameOf(uid uint32) string {
	number := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(number); err == nil {
		return u.Username
	}
	return number
}
