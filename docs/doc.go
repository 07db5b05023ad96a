// Package docs has the tests that keep documentation and code alike.
package docs
