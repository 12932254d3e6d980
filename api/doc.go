// +kubebuilder:object:generate=true
// +groupName=pavise.dev
// +versionName=v1alpha1

// Package api holds what users write: the objects of group pavise.dev,
// version v1alpha1, and the strict reader that turns a folder of YAML into them.
//
// The types carry the markers from which the CRDs are generated, so the same
// YAML works as a file and as an object of an API server. Nothing here decides
// anything: package policy compiles these types into the model that decides.
//
// To read a folder use [Loader.Load]; it reports every problem it finds, each
// with a stable code, a file, a line, a field and what would be right.
package api
