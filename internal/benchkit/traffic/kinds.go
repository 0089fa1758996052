package traffic

// What is counted, in the order of the report.
const (
	requestsSent     = "requests sent"
	requestsAnswered = "requests answered, each with its own answer"
	sentAgain        = "requests and streams sent again by Go's client itself"
	closedUsed       = "requests not served: used connection closed around a reload"
	closedFresh      = "requests not served: fresh connection closed around a reload"
	streamUsed       = "streams not opened: used connection closed around a reload"
	streamFresh      = "streams not opened: fresh connection closed around a reload"
	leftBefore       = "streams left before the header"
	leftOther        = "streams left with the header"
	leftFirst        = "streams left after the first event"
	leftMiddle       = "streams left in the middle"
	throughSurvived  = " streams with events after a reload that they were open at"
	ThroughEnded     = " streams that the server ended cleanly"
	WatchedToTheEnd  = "streams open from before the first reload until after the last one's grace period"
)

// Kinds are what a Load counts, in the order of a report.
var Kinds = []string{
	requestsSent, requestsAnswered, closedUsed, closedFresh, streamUsed, streamFresh, sentAgain,
	leftBefore, leftOther, leftFirst, leftMiddle,
	First + throughSurvived, First + ThroughEnded, Second + throughSurvived, Second + ThroughEnded, WatchedToTheEnd,
}

// closedKinds are by whether it was a stream, and whether the connection was
// used before.
var closedKinds = map[bool]map[bool]string{
	false: {true: closedUsed, false: closedFresh},
	true:  {true: streamUsed, false: streamFresh},
}
