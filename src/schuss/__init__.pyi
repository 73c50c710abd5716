from . import callbacks as callbacks
from . import plot as plot
from .acceleration import FallbackError as FallbackError
from .acceleration import accelerate as accelerate
from .acceleration import accelerated as accelerated
from .acceleration import restore as restore
from .backends import get_backend as get_backend
from .backends import show_config as show_config
from .backends import use_backend as use_backend
from .errors import BackendUnavailableError as BackendUnavailableError
from .errors import DivergenceError as DivergenceError
from .linear import LogisticRegression as LogisticRegression
from .linear import LogisticRegressionCV as LogisticRegressionCV
from .linear import Perceptron as Perceptron
from .linear import SGDClassifier as SGDClassifier
from .linear import SGDRegressor as SGDRegressor
from .minimizer import MinimizeResult as MinimizeResult
from .minimizer import adam as adam
from .minimizer import adaptive as adaptive
from .minimizer import gd as gd
from .minimizer import grid as grid
from .minimizer import minimize as minimize
from .minimizer import momentum as momentum
from .minimizer import nesterov as nesterov
from .minimizer import newton as newton
from .network import MLPClassifier as MLPClassifier
from .network import MLPRegressor as MLPRegressor
from .neuron import SigmoidClassifier as SigmoidClassifier
from .neuron import SigmoidRegressor as SigmoidRegressor
from .neuron import TrainResult as TrainResult
from .neuron import train as train
from .persistence import ModelFileError as ModelFileError
from .persistence import load as load
from .persistence import save as save
from .stream import Stream as Stream

__version__: str
__all__: list[str]
