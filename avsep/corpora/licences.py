"""The licences of open corpora, with the attribution that they ask for; kept with every clip."""

GRID = "CC-BY-4.0: GRID, Cooke, Barker, Cunningham and Shao 2006, doi 10.1121/1.2229005"
LOMBARD_GRID = (
    "CC-BY-4.0: Lombard GRID, Alghamdi, Maddock, Marxer, Barker and Brown 2018,"
    " doi 10.1121/1.5042758"
)
CREMA_D = (
    "ODbL-1.0 and DbCL-1.0: CREMA-D, Cao, Cooper, Keutmann, Gur, Nenkova and Verma 2014,"
    " doi 10.1109/TAFFC.2014.2336244"
)
