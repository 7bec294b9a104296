"""The event table: partitioned by month, which Django's own CREATE TABLE cannot say.

The state operation tells Django the columns; the SQL makes the table. Keep both alike:
tests/mapping/test_partitions.py compares them.
"""

import django.contrib.postgres.fields
from django.db import migrations, models

CREATE = """
CREATE TABLE mapping_mappingevent (
    id uuid NOT NULL,
    received_at timestamptz NOT NULL,
    occurred_at timestamptz,
    detector varchar(100) NOT NULL,
    detector_version varchar(128),
    vendor varchar(128),
    decision varchar(8) NOT NULL,
    severity varchar(8) NOT NULL,
    confidence double precision NOT NULL,
    labels varchar(100)[] NOT NULL,
    scores jsonb NOT NULL,
    findings jsonb NOT NULL,
    output_shape jsonb NOT NULL,
    environment varchar(8),
    expected_detectors varchar(128)[],
    route varchar(256),
    raw_ref varchar(512),
    metadata jsonb,
    request_id varchar(64) NOT NULL,
    api_key_id uuid NOT NULL,
    release integer NOT NULL CHECK (release >= 0),
    taxonomy_version varchar(32) NOT NULL,
    detector_map_version varchar(32),
    model_version varchar(64),
    calibrator_version varchar(64),
    PRIMARY KEY (id, received_at)
) PARTITION BY RANGE (received_at);
-- Catches events for which no month is there yet, so that an insert never fails for that.
CREATE TABLE mapping_mappingevent_default PARTITION OF mapping_mappingevent DEFAULT;
"""

DECISIONS = [
    ("mapped", "Mapped"),
    ("safe", "Safe"),
    ("fallback", "Unknown label"),
    ("review", "Needs review"),
    ("error", "Detector error"),
]
SEVERITIES = [
    ("none", "None"),
    ("info", "Info"),
    ("low", "Low"),
    ("medium", "Medium"),
    ("high", "High"),
    ("critical", "Critical"),
]


class Migration(migrations.Migration):
    """Create the partitioned event table with its default partition."""

    initial = True
    dependencies: list[tuple[str, str]] = []
    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(CREATE, "DROP TABLE mapping_mappingevent CASCADE")
            ],
            state_operations=[
                migrations.CreateModel(
                    name='MappingEvent',
                    fields=[
                        ('id', models.UUIDField(editable=False, primary_key=True, serialize=False)),
                        ('received_at', models.DateTimeField(help_text='When Pillars answered (UTC)')),
                        ('occurred_at', models.DateTimeField(help_text='When the caller says it happened', null=True)),
                        ('detector', models.CharField(max_length=100)),
                        ('detector_version', models.CharField(max_length=128, null=True)),
                        ('vendor', models.CharField(max_length=128, null=True)),
                        ('decision', models.CharField(choices=DECISIONS, max_length=8)),
                        ('severity', models.CharField(choices=SEVERITIES, max_length=8)),
                        ('confidence', models.FloatField(help_text='That the mapping is right, 0 to 1')),
                        ('labels', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=100), size=None)),
                        ('scores', models.JSONField(default=dict)),
                        ('findings', models.JSONField(default=list)),
                        ('output_shape', models.JSONField(default=dict, help_text='Type and size of the raw output')),
                        ('environment', models.CharField(max_length=8, null=True)),
                        ('expected_detectors', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=128), null=True, size=None)),
                        ('route', models.CharField(max_length=256, null=True)),
                        ('raw_ref', models.CharField(max_length=512, null=True)),
                        ('metadata', models.JSONField(null=True)),
                        ('request_id', models.CharField(max_length=64)),
                        ('api_key_id', models.UUIDField()),
                        ('release', models.PositiveIntegerField(help_text='Serial of the knowledge release in force')),
                        ('taxonomy_version', models.CharField(max_length=32)),
                        ('detector_map_version', models.CharField(max_length=32, null=True)),
                        ('model_version', models.CharField(max_length=64, null=True)),
                        ('calibrator_version', models.CharField(max_length=64, null=True)),
                    ],
                    options={
                        'verbose_name': 'event',
                        'ordering': ('-id',),
                        'indexes': [],
                        'constraints': [],
                    },
                ),
            ],
        )
    ]
