from django.urls import path

from .views import account, docs, gallery, images, keys, sign_in, trash, uploads

app_name = "web"
urlpatterns = [
    path("", gallery.gallery, name="gallery"),
    path("upload/", uploads.upload, name="upload"),
    path("uploads/", uploads.uploads_page, name="uploads"),
    path("uploads/<uuid:upload_id>/", uploads.upload_page, name="upload-state"),
    path("images/<uuid:image_id>/", images.image_page, name="image"),
    path("images/<uuid:image_id>/edit/", images.edit, name="edit"),
    path("images/<uuid:image_id>/delete/", images.delete, name="delete"),
    path("images/<uuid:image_id>/restore/", images.restore, name="restore"),
    path("i/<uuid:image_id>/original", images.content, name="original"),
    path("i/<uuid:image_id>/stripped", images.content, {"stripped": True}, name="stripped"),
    path("i/<uuid:image_id>/<int:side>", images.content, name="rendition"),
    path("trash/", trash.trash_page, name="trash"),
    path("trash/empty/", trash.empty, name="empty-trash"),
    path("keys/", keys.keys_page, name="keys"),
    path("keys/<int:key_id>/revoke/", keys.revoke, name="revoke"),
    path("account/", account.account_page, name="account"),
    path("account/sign-out-others/", account.sign_out_others, name="sign-out-others"),
    path("account/password/", account.Password.as_view(), name="password"),
    path("login/", sign_in.PasswordSignIn.as_view(), name="login"),
    path("login/<str:token>/", sign_in.LinkSignIn.as_view(), name="sign-in-link"),
    path("logout/", sign_in.SignOut.as_view(), name="logout"),
    path("api/docs/", docs.ApiPage.as_view(), name="api-docs"),
    path("api/docs/errors/", docs.errors, name="api-errors"),
]
