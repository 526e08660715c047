from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("usage", "0004_find_by_request")]

    operations = [
        migrations.AlterField(model_name="feedback", name="item", field=models.CharField(max_length=300)),
    ]
