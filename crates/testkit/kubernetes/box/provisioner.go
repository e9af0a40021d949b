package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"os"
	"path/filepath"
	"time"

	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	provisionerName = "armory.test/folder"
	provisionedBy   = "pv.kubernetes.io/provisioned-by"
	selectedNode    = "volume.kubernetes.io/selected-node"
)

// A provisioner gives every claim of its storage classes a folder of this machine, and removes the folder once the volume is
// released. There is one node, so every access mode means the same here.
type provisioner struct {
	client  kubernetes.Interface
	folder  string
	claims  cache.Store
	volumes cache.Store
	classes cache.Store
}

// provision runs until the context ends: whenever a claim, a volume or a class changes, it looks at all of them.
func provision(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("provisioner", flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", "", "how to reach the cluster")
	folder := flags.String("folder", "", "where the volumes' folders are made")
	_ = flags.Parse(args)
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}

	factory := informers.NewSharedInformerFactory(client, time.Minute)
	claims := factory.Core().V1().PersistentVolumeClaims().Informer()
	volumes := factory.Core().V1().PersistentVolumes().Informer()
	classes := factory.Storage().V1().StorageClasses().Informer()
	changed := make(chan struct{}, 1)
	note := func(any) {
		select {
		case changed <- struct{}{}:
		default: // a look is due already
		}
	}
	handler := cache.ResourceEventHandlerFuncs{AddFunc: note, UpdateFunc: func(_, now any) { note(now) }, DeleteFunc: note}
	for _, informer := range []cache.SharedIndexInformer{claims, volumes, classes} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())

	p := provisioner{client, filepath.Clean(*folder), claims.GetStore(), volumes.GetStore(), classes.GetStore()}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
			// What failed is tried again with the next change, or after the informers' minute.
			if err := p.look(ctx); err != nil {
				log.Print(err)
			}
		}
	}
}

func (p *provisioner) look(ctx context.Context) error {
	var failed []error
	for _, item := range p.claims.List() {
		claim := item.(*core.PersistentVolumeClaim)
		if class := p.classToServe(claim); class != nil {
			failed = append(failed, p.create(ctx, claim, class))
		}
	}
	for _, item := range p.volumes.List() {
		if volume := item.(*core.PersistentVolume); p.isToBeRemoved(volume) {
			failed = append(failed, p.remove(ctx, volume))
		}
	}
	return errors.Join(failed...)
}

// classToServe is the class of a claim that waits for this provisioner, or nil.
func (p *provisioner) classToServe(claim *core.PersistentVolumeClaim) *storage.StorageClass {
	if claim.Spec.VolumeName != "" || claim.DeletionTimestamp != nil || claim.Spec.StorageClassName == nil {
		return nil
	}
	item, found, _ := p.classes.GetByKey(*claim.Spec.StorageClassName)
	if !found {
		return nil
	}
	class := item.(*storage.StorageClass)
	waits := class.VolumeBindingMode != nil && *class.VolumeBindingMode == storage.VolumeBindingWaitForFirstConsumer
	if class.Provisioner != provisionerName || (waits && claim.Annotations[selectedNode] == "") {
		return nil
	}
	return class
}

func (p *provisioner) create(ctx context.Context, claim *core.PersistentVolumeClaim, class *storage.StorageClass) error {
	name := "pvc-" + string(claim.UID)
	folder := filepath.Join(p.folder, name)
	// Kubernetes does not change the owner of a host's folder, so it is open to every user. MkdirAll follows the umask.
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	if err := os.Chmod(folder, 0o777); err != nil {
		return err
	}
	policy := core.PersistentVolumeReclaimDelete
	if class.ReclaimPolicy != nil {
		policy = *class.ReclaimPolicy
	}
	kind := core.HostPathDirectory
	volume := &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{Name: name, Annotations: map[string]string{provisionedBy: provisionerName}},
		Spec: core.PersistentVolumeSpec{
			StorageClassName:              class.Name,
			AccessModes:                   claim.Spec.AccessModes,
			VolumeMode:                    claim.Spec.VolumeMode,
			PersistentVolumeReclaimPolicy: policy,
			Capacity:                      core.ResourceList{core.ResourceStorage: claim.Spec.Resources.Requests[core.ResourceStorage]},
			ClaimRef: &core.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
			},
			PersistentVolumeSource: core.PersistentVolumeSource{
				HostPath: &core.HostPathVolumeSource{Path: folder, Type: &kind},
			},
		},
	}
	_, err := p.client.CoreV1().PersistentVolumes().Create(ctx, volume, meta.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

func (p *provisioner) isToBeRemoved(volume *core.PersistentVolume) bool {
	return volume.Annotations[provisionedBy] == provisionerName &&
		volume.Status.Phase == core.VolumeReleased &&
		volume.Spec.PersistentVolumeReclaimPolicy == core.PersistentVolumeReclaimDelete &&
		volume.Spec.HostPath != nil &&
		// Anybody may write a volume's path: nothing outside the folder is removed.
		filepath.Dir(filepath.Clean(volume.Spec.HostPath.Path)) == p.folder
}

func (p *provisioner) remove(ctx context.Context, volume *core.PersistentVolume) error {
	if err := os.RemoveAll(volume.Spec.HostPath.Path); err != nil {
		return err
	}
	err := p.client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, meta.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
