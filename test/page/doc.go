// Package page has the pages of the admin endpoint shown by a headless Chromium: what the tests
// beside the pages cannot see is how a browser takes the policy of content, the keyboard, and a
// page that is sent row by row. It is a module of its own, so that the driver of the browser
// is no dependency of Pavise.
package page
