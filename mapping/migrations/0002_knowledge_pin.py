"""A tenant's choices of a release of the knowledge, in order; append-only."""

import pgtrigger.compiler
import pgtrigger.migrations
import uuid_utils.compat
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('mapping', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='KnowledgePin',
            fields=[
                ('id', models.UUIDField(default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False)),
                ('number', models.PositiveIntegerField(help_text="The tenant's choices in order", unique=True)),
                ('kind', models.CharField(choices=[('pin', 'Pinned'), ('apply', 'Applied'), ('follow', 'Follows the newest'), ('undo', 'Undone')], max_length=6)),
                ('release', models.PositiveIntegerField(help_text='Serial of the release; none: whichever is the newest', null=True)),
                ('effective', models.PositiveIntegerField(help_text='Serial that was in force from then on')),
                ('previous', models.PositiveIntegerField(help_text='Serial that was in force until then')),
                ('followed', models.BooleanField(help_text='Whether the newest was followed until then')),
                ('made_by', models.CharField(help_text='user:NAME or system:NAME', max_length=200)),
                ('made_at', models.DateTimeField(auto_now_add=True)),
                ('note', models.CharField(blank=True, help_text="Why, in the person's words", max_length=300)),
                ('undo_until', models.DateTimeField(help_text='None: this choice cannot be undone', null=True)),
            ],
            options={
                'verbose_name': 'knowledge version choice',
                'ordering': ('-number',),
            },
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='knowledgepin',
            trigger=pgtrigger.compiler.Trigger(name='append_only', sql=pgtrigger.compiler.UpsertTriggerSql(func="RAISE EXCEPTION 'pgtrigger: Cannot update or delete rows from % table', TG_TABLE_NAME;", hash='81e8e50191c0877840de71dd6543c45ca8e95eec', operation='UPDATE OR DELETE', pgid='pgtrigger_append_only_1be03', table='mapping_knowledgepin', when='BEFORE')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='knowledgepin',
            trigger=pgtrigger.compiler.Trigger(name='no_truncate', sql=pgtrigger.compiler.UpsertTriggerSql(func="RAISE EXCEPTION 'rows of this table cannot be removed';", hash='01c1c1e95d79a440edde60a4eae5c158ee3911b9', level='STATEMENT', operation='TRUNCATE', pgid='pgtrigger_no_truncate_2310b', table='mapping_knowledgepin', when='BEFORE')),
        ),
    ]
