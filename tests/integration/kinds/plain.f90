! The plain core from Fortran: a C function by name.
program plain
  use iso_c_binding
  implicit none

  type, bind(c) :: ray_value
    integer(c_int32_t) :: kind = 0, reserved = 0
    integer(c_size_t) :: size = 0
    type(c_ptr) :: data
  end type ray_value

  interface
    integer(c_int) function ray_init(config) bind(c)
      import
      type(c_ptr), value :: config
    end function ray_init
    integer(c_int) function ray_shutdown() bind(c)
      import
    end function ray_shutdown
    type(c_ptr) function ray_function_get(name) bind(c)
      import
      character(c_char), intent(in) :: name(*)
    end function ray_function_get
    type(c_ptr) function ray_submit(function, args, num_args, options) bind(c)
      import
      type(c_ptr), value :: function, options
      type(ray_value), intent(in) :: args(*)
      integer(c_size_t), value :: num_args
    end function ray_submit
    integer(c_int) function ray_get(ref, out) bind(c)
      import
      type(c_ptr), value :: ref
      type(ray_value), intent(inout) :: out
    end function ray_get
    subroutine ray_release(ref) bind(c)
      import
      type(c_ptr), value :: ref
    end subroutine ray_release
  end interface

  integer(c_int32_t), parameter :: ray_kind_i64 = 5
  integer(c_int64_t), target :: a = 20, b = 22, y = 0
  type(ray_value) :: args(2), out
  type(c_ptr) :: ref

  if (ray_init(c_null_ptr) /= 0) stop 1
  args(1) = ray_value(ray_kind_i64, 0, 8_c_size_t, c_loc(a))
  args(2) = ray_value(ray_kind_i64, 0, 8_c_size_t, c_loc(b))
  out = ray_value(ray_kind_i64, 0, 8_c_size_t, c_loc(y))
  ref = ray_submit(ray_function_get("add2" // c_null_char), args, 2_c_size_t, c_null_ptr)
  if (ray_get(ref, out) /= 0) stop 2
  if (y /= 42) stop 3
  call ray_release(ref)
  if (ray_shutdown() /= 0) stop 4
end program plain
