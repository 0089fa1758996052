package mcpauthbridge

import "strings"

var limitsOptions = []blockOption[Limits]{
	{name: "max_request_body", example: "64MiB", read: func(s setting, l *Limits) error { return s.size(&l.MaxRequestBody, true) }},
	{name: "max_held_body", example: "64KiB", read: func(s setting, l *Limits) error { return s.size(&l.MaxHeldBody, false) }},
	{name: "response_header_timeout", example: "10m", read: func(s setting, l *Limits) error { return s.duration(&l.ResponseHeaderTimeout, true) }},
	{name: "max_response_header", example: "1MiB", read: func(s setting, l *Limits) error { return s.size(&l.MaxResponseHeader, false) }},
	{name: "challenge_timeout", example: "2s", read: func(s setting, l *Limits) error { return s.duration(&l.ChallengeTimeout, false) }},
	{name: "metadata_timeout", example: "5s", read: func(s setting, l *Limits) error { return s.duration(&l.MetadataTimeout, false) }},
	{name: "max_metadata_size", example: "256KiB", read: func(s setting, l *Limits) error { return s.size(&l.MaxMetadataSize, false) }},
	{name: "max_metadata_entries", example: "64", read: func(s setting, l *Limits) error { return s.count(&l.MaxMetadataEntries) }},
	{name: "max_message", example: "16MiB", read: func(s setting, l *Limits) error { return s.size(&l.MaxMessage, false) }},
	{name: "max_form", example: "1MiB", read: func(s setting, l *Limits) error { return s.size(&l.MaxForm, false) }},
	{name: "max_endpoint_event", example: "64KiB", read: func(s setting, l *Limits) error {
		var n int64
		err := s.size(&n, false)
		l.MaxEndpointEvent = int(n)
		return err
	}},
}

func readLimits(dir *directive, s setting) error {
	l := new(Limits)
	dir.h.Limits = l
	if err := s.onlyBlock(namesOf(limitsOptions)); err != nil {
		return err
	}
	return readBlock(s.Dispenser, "limits", limitsOptions, l, nil)
}

// onlyBlock refuses a value where the option has a block only.
func (s setting) onlyBlock(names []string) error {
	if s.NextArg() {
		return s.Errf("%s: takes a block, remove %q; its options are %s", s.label, s.Val(), strings.Join(names, ", "))
	}
	return nil
}
