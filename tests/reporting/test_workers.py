"""Two workers and one report, on real connections."""

import threading
from datetime import UTC, datetime
from typing import Any

from django.db import connection

from reporting import services
from reporting.models import ReportFile
from tenants.context import tenant_context


def test_of_two_workers_one_gets_it(lasting_tenant: Any) -> None:
    today = datetime.now(UTC).date()
    with tenant_context(lasting_tenant):
        report_id = services.request_report(
            framework="soc2", period_start=today, period_end=today, actor="user:tester"
        ).id
    results: list[Any] = []
    gate = threading.Barrier(2)

    def work() -> None:
        try:
            with tenant_context(lasting_tenant):
                gate.wait()
                results.append(services.build_report(report_id=report_id))
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(result is None for result in results) == [False, True]
    with tenant_context(lasting_tenant):
        assert ReportFile.objects.filter(report_id=report_id).count() == 3
