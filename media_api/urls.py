from django.urls import path
from drf_spectacular.views import SpectacularJSONAPIView

from .schema import Once  # which registers the rest of its module with drf-spectacular
from .views import account, bulk, images, uploads

app_name = "api"
urlpatterns = [
    path("images", images.ImagesView.as_view(), name="images"),
    path("images/trash", images.TrashView.as_view(), name="trash"),
    path("images/delete", bulk.DeleteManyView.as_view(), name="delete-many"),
    path("images/restore", bulk.RestoreManyView.as_view(), name="restore-many"),
    path("images/tags", bulk.TagManyView.as_view(), name="tag-many"),
    path("images/links", bulk.LinkManyView.as_view(), name="link-many"),
    path("images/<uuid:image_id>", images.ImageView.as_view(), name="image"),
    path("images/<uuid:image_id>/restore", images.RestoreView.as_view(), name="restore"),
    path("images/<uuid:image_id>/content", images.ContentView.as_view(), name="content"),
    path("uploads", uploads.UploadsView.as_view(), name="uploads"),
    path("uploads/<uuid:upload_id>", uploads.UploadView.as_view(), name="upload"),
    path("uploads/<uuid:upload_id>/parts", uploads.PartsView.as_view(), name="parts"),
    path("uploads/<uuid:upload_id>/complete", uploads.CompleteView.as_view(), name="complete"),
    path("account", account.AccountView.as_view(), name="account"),
    path("keys", account.KeysView.as_view(), name="keys"),
    path("keys/<int:key_id>", account.KeyView.as_view(), name="key"),
    path("openapi.json", SpectacularJSONAPIView.as_view(generator_class=Once), name="openapi"),
]
