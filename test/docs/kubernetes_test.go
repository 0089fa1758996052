package docs_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// The objects for Kubernetes are such, fit together, and hold Caddyfiles that
// are valid.
func TestDocumentedKubernetes(t *testing.T) {
	kinds := make(map[string]int)
	for _, file := range pages(t) {
		for _, text := range blocks(t, file, "yaml") {
			if !strings.Contains(text, "apiVersion:") {
				continue // TestDocumentedCompose
			}
			decoder := yaml.NewDecoder(strings.NewReader(text))
			decoder.KnownFields(true)
			var objects []object
			for {
				var o object
				err := decoder.Decode(&o)
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatalf("%s: %v", file, err)
				}
				objects = append(objects, o)
				kinds[o.Kind]++
			}
			checkObjects(t, objects)
		}
	}
	for _, kind := range []string{"ConfigMap", "Deployment", "Service", "Ingress"} {
		if kinds[kind] == 0 {
			t.Errorf("there is no %s", kind)
		}
	}
}

// object is what the pages use of the objects of Kubernetes.
type object struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   struct {
		Name        string            `yaml:"name"`
		Annotations map[string]string `yaml:"annotations"`
	} `yaml:"metadata"`
	Data map[string]string `yaml:"data"`
	Spec struct {
		Replicas int `yaml:"replicas"`
		Selector any `yaml:"selector"` // labels, or labels in matchLabels
		Template struct {
			Metadata struct {
				Labels map[string]string `yaml:"labels"`
			} `yaml:"metadata"`
			Spec struct {
				Containers []struct {
					Name  string   `yaml:"name"`
					Image string   `yaml:"image"`
					Args  []string `yaml:"args"`
					Ports []struct {
						Name          string `yaml:"name"`
						ContainerPort int    `yaml:"containerPort"`
					} `yaml:"ports"`
					ReadinessProbe struct {
						HTTPGet struct {
							Path string `yaml:"path"`
							Port string `yaml:"port"`
						} `yaml:"httpGet"`
					} `yaml:"readinessProbe"`
					VolumeMounts []struct {
						Name      string `yaml:"name"`
						MountPath string `yaml:"mountPath"`
					} `yaml:"volumeMounts"`
				} `yaml:"containers"`
				Volumes []struct {
					Name      string `yaml:"name"`
					ConfigMap struct {
						Name string `yaml:"name"`
					} `yaml:"configMap"`
				} `yaml:"volumes"`
			} `yaml:"spec"`
		} `yaml:"template"`
		Ports []struct {
			Name       string `yaml:"name"`
			Port       int    `yaml:"port"`
			TargetPort string `yaml:"targetPort"`
		} `yaml:"ports"`
		IngressClassName string `yaml:"ingressClassName"`
		TLS              []struct {
			Hosts      []string `yaml:"hosts"`
			SecretName string   `yaml:"secretName"`
		} `yaml:"tls"`
		Rules []struct {
			Host string `yaml:"host"`
			HTTP struct {
				Paths []struct {
					Path     string `yaml:"path"`
					PathType string `yaml:"pathType"`
					Backend  struct {
						Service struct {
							Name string `yaml:"name"`
							Port struct {
								Name string `yaml:"name"`
							} `yaml:"port"`
						} `yaml:"service"`
					} `yaml:"backend"`
				} `yaml:"paths"`
			} `yaml:"http"`
		} `yaml:"rules"`
	} `yaml:"spec"`
}

// checkObjects follows the names from the Ingress to the Caddyfile.
func checkObjects(t *testing.T, objects []object) {
	t.Helper()
	find := func(kind, name string) object {
		t.Helper()
		i := slices.IndexFunc(objects, func(o object) bool { return o.Kind == kind && o.Metadata.Name == name })
		if i < 0 {
			t.Fatalf("there is no %s %q", kind, name)
		}
		return objects[i]
	}
	for _, ingress := range objects {
		if ingress.Kind != "Ingress" {
			continue
		}
		for _, rule := range ingress.Spec.Rules {
			if !slices.Contains(ingress.Spec.TLS[0].Hosts, rule.Host) || rule.HTTP.Paths[0].Path != "/" {
				t.Errorf("the rule for %s has no TLS, or not all paths", rule.Host)
			}
			backend := rule.HTTP.Paths[0].Backend.Service
			service := find("Service", backend.Name)
			deployment := find("Deployment", service.Metadata.Name)
			pod := deployment.Spec.Template
			container := pod.Spec.Containers[0]
			if service.Spec.Ports[0].Name != backend.Port.Name || service.Spec.Ports[0].TargetPort != container.Ports[0].Name || container.ReadinessProbe.HTTPGet.Port != container.Ports[0].Name {
				t.Error("the names of the ports differ")
			}
			labels := fmt.Sprint(pod.Metadata.Labels)
			if fmt.Sprint(service.Spec.Selector) != labels || fmt.Sprint(deployment.Spec.Selector) != "map[matchLabels:"+labels+"]" {
				t.Errorf("the selectors are %v and %v, the labels %s", service.Spec.Selector, deployment.Spec.Selector, labels)
			}
			if pod.Spec.Volumes[0].Name != container.VolumeMounts[0].Name {
				t.Error("the volume is not mounted")
			}
			config := find("ConfigMap", pod.Spec.Volumes[0].ConfigMap.Name)
			for name, caddyfile := range config.Data {
				if !slices.Contains(container.Args, container.VolumeMounts[0].MountPath+"/"+name) {
					t.Errorf("Caddy is not given %s", name)
				}
				validate(t, caddyfile)
				for _, want := range []string{fmt.Sprintf("\n:%d {", container.Ports[0].ContainerPort), "respond " + container.ReadinessProbe.HTTPGet.Path + " 200", "public_url https://" + rule.Host + "/mcp"} {
					if !strings.Contains(caddyfile, want) {
						t.Errorf("the Caddyfile does not have %q", want)
					}
				}
			}
		}
	}
}
