"""A card for machines: Croissant 1.1 as JSON-LD, with its vocabulary of responsible AI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aubench.protocols.cards.contents import meaning_of, type_of

if TYPE_CHECKING:
    from aubench.protocols.cards.contents import Contents, DataFile, Table
    from aubench.protocols.cards.facts import Facts

CROISSANT = "http://mlcommons.org/croissant/"
CONFORMS = (f"{CROISSANT}1.1", f"{CROISSANT}RAI/1.0")
OF_CROISSANT = (
    *("arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field"),
    *("fileObject", "fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset"),
    *("jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex"),
    *("repeated", "replace", "samplingRate", "separator", "source", "subField", "transform"),
)
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": CROISSANT,
    "rai": f"{CROISSANT}RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    **{name: f"cr:{name}" for name in OF_CROISSANT},
}

RESPONSIBLE = {
    "rai:dataCollection": "collection",
    "rai:dataCollectionType": "collection_type",
    "rai:dataCollectionMissingData": "missing",
    "rai:dataCollectionRawData": "raw",
    "rai:dataPreprocessingProtocol": "preprocessing",
    "rai:dataAnnotationProtocol": "annotation",
    "rai:annotationsPerItem": "annotations_per_item",
    "rai:annotatorDemographics": "annotators",
    "rai:machineAnnotationTools": "tools",
    "rai:dataBiases": "biases",
    "rai:dataLimitations": "limitations",
    "rai:dataSocialImpact": "social_impact",
    "rai:personalSensitiveInformation": "sensitive",
    "rai:dataReleaseMaintenancePlan": "maintenance",
}
"""Properties of Croissant's vocabulary of responsible AI, by the names of ``Facts``."""


def document(contents: Contents, facts: Facts) -> dict[str, Any]:
    """Return the JSON-LD of a card; what is not stated is left out, never invented.

    Args:
        contents: What was counted.
        facts: What is known besides.
    """
    told = {
        "name": contents.name,
        "description": description(contents, facts),
        "conformsTo": list(CONFORMS),
        "license": facts.licence,
        "url": facts.url,
        "creator": {"@type": "sc:Organization", "name": facts.creator} if facts.creator else "",
        "datePublished": facts.published,
        "version": contents.version,
        "citeAs": facts.citation,
        "keywords": ["facial action units", "FACS", "image generation", "benchmark"],
        "inLanguage": "en",
        "isLiveDataset": False,
        **{name: _plain(getattr(facts, field)) for name, field in RESPONSIBLE.items()},
        "rai:dataUseCases": [*facts.uses, *facts.misuse],
        "distribution": [_file(file) for file in contents.files],
        "recordSet": [_records(contents.table)],
    }
    kept = {name: value for name, value in told.items() if value not in ("", [])}
    return {"@context": CONTEXT, "@type": "sc:Dataset", **kept}


def description(contents: Contents, facts: Facts) -> str:
    """Return what the data are, in sentences."""
    return " ".join(filter(None, (f"{contents.about.rstrip('.')}.", facts.description)))


def _plain(value: str | tuple[str, ...]) -> str | list[str]:
    return value if isinstance(value, str) else list(value)


def _file(file: DataFile) -> dict[str, Any]:
    stays = " It stays where the agreement of the data allows and does not come with this card."
    return {
        "@type": "cr:FileObject",
        "@id": file.name,
        "name": file.name,
        "description": file.about + (stays if file.data is None else ""),
        "contentUrl": file.name,
        "contentSize": f"{file.size} B",
        "encodingFormat": file.encoding,
        "sha256": file.sha256,
    }


def _records(table: Table) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": table.name,
        "name": table.name,
        "description": f"{table.rows} rows of {table.file.name}.",
        **({"key": {"@id": f"{table.name}/{table.key}"}} if table.key else {}),
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{table.name}/{column}",
                "name": column,
                "description": meaning_of(column),
                "dataType": type_of(column),
                "source": {
                    "fileObject": {"@id": table.file.name},
                    "extract": {"column": column},
                },
            }
            for column in table.columns
        ],
    }
