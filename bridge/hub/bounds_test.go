package hub

// freeStarts is how many servers may end soon before the next start waits: backoffFree of
// bridge/servers.
const freeStarts = 3
