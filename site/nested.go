package site

import (
	"reflect"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/intercept"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/mcp-auth-bridge/caddy-mcp-auth-bridge/table"
)

// nesting says when a handler runs the routes that it holds.
type nesting uint8

const (
	// inPlace routes run before the handlers that follow.
	inPlace nesting = iota
	// onError routes run if one of the handler's other routes fails.
	onError
	// onAnswer routes run after the answer of a proxy's upstream, before the handlers
	// that follow.
	onAnswer
	// onNext routes run after the answer of the handlers that follow.
	onNext
	// anyTime routes belong to another plugin's handler, which may run them at any time.
	anyTime
)

// nestedRoutes are routes inside a handler.
type nestedRoutes struct {
	routes caddyhttp.RouteList
	when   nesting
}

// maxNesting bounds how deep routes are looked into.
const maxNesting = 32

// invocations are the named routes that are being looked into. They are not looked into
// again, because routes that invoke themselves never end.
type invocations []string

// enter adds the named route that a handler invokes, if it invokes one. It returns false
// if that route is already being looked into.
func (in invocations) enter(handler caddyhttp.MiddlewareHandler) (invocations, bool) {
	h, ok := handler.(*caddyhttp.Invoke)
	if !ok {
		return in, true
	}
	if len(in) >= maxNesting || slices.Contains(in, h.Name) {
		return nil, false
	}
	return append(slices.Clip(in), h.Name), true
}

// scope is what nestedIn needs to know beside the handler.
type scope struct {
	server   *caddyhttp.Server // that the routes belong to; it has the named routes
	describe Describe
}

// nestedIn returns the routes that a handler holds.
func (s scope) nestedIn(handler caddyhttp.MiddlewareHandler) []nestedRoutes {
	if own := s.describe(handler); own != nil {
		if own.Proxy == nil {
			return nil
		}
		return nestedInAnswers(own.Proxy.HandleResponse, onAnswer)
	}
	switch handler := handler.(type) {
	case *caddyhttp.Subroute:
		all := []nestedRoutes{{routes: table.Expand(handler.Routes)}}
		if handler.Errors != nil {
			all = append(all, nestedRoutes{routes: table.Expand(handler.Errors.Routes), when: onError})
		}
		return all
	case *caddyhttp.Invoke:
		if s.server != nil && s.server.NamedRoutes[handler.Name] != nil {
			return []nestedRoutes{{routes: caddyhttp.RouteList{*s.server.NamedRoutes[handler.Name]}}}
		}
		return nil
	case *reverseproxy.Handler:
		return nestedInAnswers(handler.HandleResponse, onAnswer)
	case *intercept.Intercept:
		return nestedInAnswers(handler.HandleResponse, onNext)
	}
	if isCaddys(handler) {
		return nil
	}
	f := &routeFinder{left: maxFieldsOfPlugin}
	f.find(reflect.ValueOf(handler), 0)
	return f.found
}

func nestedInAnswers(handlers []caddyhttp.ResponseHandler, when nesting) (all []nestedRoutes) {
	for i := range handlers {
		all = append(all, nestedRoutes{handlers[i].Routes, when})
	}
	return all
}

// isCaddys reports whether a handler belongs to Caddy itself. Nested routes of these are
// known to nestedIn.
func isCaddys(handler any) bool {
	t := reflect.TypeOf(handler)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return strings.HasPrefix(t.PkgPath(), "github.com/caddyserver/caddy/v2/modules/")
}

// maxFieldsOfPlugin bounds how many values of a plugin's handler are looked at.
const maxFieldsOfPlugin = 2000

// routeFinder looks for routes in the exported fields of a plugin's handler.
type routeFinder struct {
	found []nestedRoutes
	left  int
}

var (
	routeType   = reflect.TypeFor[caddyhttp.Route]()
	routesType  = reflect.TypeFor[caddyhttp.RouteList]()
	handlerType = reflect.TypeFor[caddyhttp.MiddlewareHandler]()
)

func (f *routeFinder) find(v reflect.Value, depth int) {
	const maxDepth = 8
	if f.left--; f.left < 0 || depth > maxDepth || !v.IsValid() {
		return
	}
	switch t := v.Type(); {
	case t == routeType:
		f.add(caddyhttp.RouteList{v.Interface().(caddyhttp.Route)})
		return
	case t == routesType:
		f.add(v.Interface().(caddyhttp.RouteList))
		return
	case depth > 0 && t.Implements(handlerType):
		if (t.Kind() != reflect.Pointer && t.Kind() != reflect.Interface) || !v.IsNil() {
			f.add(caddyhttp.RouteList{{Handlers: []caddyhttp.MiddlewareHandler{v.Interface().(caddyhttp.MiddlewareHandler)}}})
		}
		return
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			f.find(v.Elem(), depth+1)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				f.find(v.Field(i), depth+1)
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			f.find(v.Index(i), depth+1)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			f.find(v.MapIndex(key), depth+1)
		}
	}
}

func (f *routeFinder) add(routes caddyhttp.RouteList) {
	if len(routes) > 0 {
		f.found = append(f.found, nestedRoutes{routes: routes, when: anyTime})
	}
}
