"""Operations on plain arrays; they import jax alone."""
